"""Programs for those who work on hadesgw; nothing of this is in the wheel."""
