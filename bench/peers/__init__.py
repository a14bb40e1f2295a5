"""zc.async beside the systems that people would use instead."""
