"""What ops ask for: how things stand, why, what is wrong with an installation, and another try."""
