"""The paper authors' file formats, read and written."""
