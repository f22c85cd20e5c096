"""`foresight demo`: an input played through the real nodes, with pictures and numbers left over."""
