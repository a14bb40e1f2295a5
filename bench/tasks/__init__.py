"""What fresh processes of the bench do; each task is a function here."""
