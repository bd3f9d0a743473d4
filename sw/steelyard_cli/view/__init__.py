"""What commands show and write: console, tables, pictures, pages, files."""
