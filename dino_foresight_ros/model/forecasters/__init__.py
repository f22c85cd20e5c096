"""The forecasters: each predicts the features of future frames from those of past ones."""
