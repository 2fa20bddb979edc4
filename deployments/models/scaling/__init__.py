"""How many replicas a model needs: what they report (load), what is decided (policy), and who learns of it (decisions).

load       what a replica reports to Serve's controller; process_load: one that is a single process
demand     the load of all replicas in units of what one of them can hold
policy     from the demand to a number of replicas; a pure function
autoscaler Serve's policy function: it decides, and reports why
decisions  the last decisions of each deployment, for the operations page
"""

AUTOSCALER = "deployments.models.scaling.autoscaler:ModelAutoscaler"
"""The import path that stands as `policy_function` in a service file."""
