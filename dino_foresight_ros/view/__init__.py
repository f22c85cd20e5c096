"""Shows and records forecasts by the rerun SDK, in a browser. Plain arrays: no torch, no ROS.

rerun is imported only by `rerun_sdk.load`, when somebody wants to look.
"""
