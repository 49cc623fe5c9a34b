"""A folder of photographs in; pictures, tables and a page out."""
