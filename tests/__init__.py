"""Everything that shows that hadesgw does what it says."""
