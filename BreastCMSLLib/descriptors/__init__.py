"""BI-RADS words for a finding and for the breasts, and the simulated lesions that a finding looks like."""
