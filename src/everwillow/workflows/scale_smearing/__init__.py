"""Energy scale and smearing: from files of events to corrections."""
