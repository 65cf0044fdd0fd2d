"""Migrations of the schema `accounts`, which is no projection and is never rebuilt."""
