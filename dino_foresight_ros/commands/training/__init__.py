"""Stages of `foresight train`, one module each, in the order that --help lists them."""

STAGES: tuple[str, ...] = ("pixels", "encoder", "pca", "features", "forecaster", "head", "all")
