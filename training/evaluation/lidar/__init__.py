"""Depth against lidar: true depth from the clouds of a bag, scale, scores by horizon."""
