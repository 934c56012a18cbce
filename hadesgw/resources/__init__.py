"""Resources: the layers a request passes and the leaves that answer it."""
