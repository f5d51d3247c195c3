# Packaging: nothing to do here.
