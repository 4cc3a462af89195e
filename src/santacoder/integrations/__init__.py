"""Other projects' interfaces to the model; each module needs the package that it is named after."""
