"""What stages share. Every module here can be imported alone; a stage declares in dvc.yaml the ones it imports."""
