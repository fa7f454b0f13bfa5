"""From files to results: functions that the command line and Python call alike."""
