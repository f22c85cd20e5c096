"""`foresight demo`: an input played through the real nodes, pictures and numbers left in a folder."""
