"""The recipes that come with degrade: YAML files only. See ``degrade list``."""
