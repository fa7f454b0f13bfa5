"""Energy scale and smearing: responses and resolutions from masses of Z bosons."""
