"""Pure steps over page images: they know neither queue, nor database, nor web."""
