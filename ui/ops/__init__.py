"""/ops: what whoever runs the service looks at, with an administrator's key.

page      one open browser page: asks again every few seconds, while somebody looks
access    which key it acts with, and the form that asks for one
figures   what the service tells of itself     series   from there to what charts show
drawing   a chart as SVG                       chart    the same as a figure, with its table
tables    models, errors, replicas and keys    wording  numbers and times as they are read
dashboard whether Ray's own dashboard is there
"""
