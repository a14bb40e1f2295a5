"""From files of results to the page that tells of them."""
