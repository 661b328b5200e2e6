"""The screens, one file each; a screen is imported when it is opened for the first time."""
