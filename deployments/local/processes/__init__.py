"""Child processes: started, watched, found again after a crash; and their ports."""
