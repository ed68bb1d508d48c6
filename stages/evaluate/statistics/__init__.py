"""What stands behind the numbers: intervals, paired differences, calibration, means."""
