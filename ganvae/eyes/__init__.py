"""Networks trained by others on photographs, that stay as they are: what they see of images."""
