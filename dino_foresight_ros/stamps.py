"""The unit of time stamps: nanoseconds, as whole numbers."""

NS_PER_S = 1_000_000_000
