"""`foresight demo` plays an input through the real nodes and leaves pictures and numbers."""
