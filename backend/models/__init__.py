"""Model sets: which weights play which role."""
