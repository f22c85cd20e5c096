"""Forecasts shown in a browser, and recorded, by the rerun SDK. Plain arrays: no torch, no ROS.

rerun is imported only by `rerun_sdk.load`, when somebody wants to look.
"""
