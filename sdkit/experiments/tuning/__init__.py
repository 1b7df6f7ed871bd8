"""What `tune` is made of: space and objective, the study in its file, the search itself, and what is found."""
