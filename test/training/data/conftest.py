"""Tiny data sets in each exact format."""

from tiny_data_sets import *  # noqa: F403 (fixtures)
