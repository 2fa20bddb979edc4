"""/ops: the operator's page, opened with an administrator's key.

page       one open browser page: polls every few seconds while it is visible
access     which key it uses, and the form that asks for one
admin_keys keys that were entered in open pages
metrics    the service's metrics      series   data series of the charts
drawing    charts as SVG              chart    a chart with its legend and table
tables     models, errors, replicas, and keys
formats    numbers and times          board    the layout
dashboard  whether Ray's own dashboard is reachable
"""
