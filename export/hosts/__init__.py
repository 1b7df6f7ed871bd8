"""Files for hosts: a web page and its server, a Triton model repository."""
