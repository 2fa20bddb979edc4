"""What the dashboards show: a module each."""
