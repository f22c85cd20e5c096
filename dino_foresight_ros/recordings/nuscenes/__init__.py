"""nuScenes from its official JSON tables: recordings, and scenes as rosbag2."""
