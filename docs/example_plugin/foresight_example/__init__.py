"""An example: a head and a kind of data for dino_foresight_ros, in a package of their own."""
