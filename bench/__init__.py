"""What zc.async costs and how fast it is, beside the storage it works on."""
