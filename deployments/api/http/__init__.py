"""What every request and reply passes, whatever its resource."""
