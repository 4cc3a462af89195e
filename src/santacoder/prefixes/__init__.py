"""Keys and values of prompts in files, for the next process: blocks named by what they depend on."""
