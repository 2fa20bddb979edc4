"""The product as a user gets it: a package, so that its fixture lasts as long as its tests."""
