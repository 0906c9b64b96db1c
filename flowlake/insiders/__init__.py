"""Ownership filings (SEC Forms 3, 4, 5) and congressional disclosures: parsing, classification, signals."""
