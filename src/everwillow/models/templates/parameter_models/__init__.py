"""What scales the processes of a template fit."""
