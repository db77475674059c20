package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inputFiles returns the files to count by absolute path, which is what a file is known by from run to run. Without
// arguments they are the Markdown and Go files below the working directory, sorted; hidden directories are
// left out. A file that is named twice is counted once.
func inputFiles(args []string) ([]string, error) {
	if len(args) == 0 {
		return textFiles(".")
	}
	var files []string
	for _, arg := range args {
		name, err := filepath.Abs(arg)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		if !slices.Contains(files, name) {
			files = append(files, name)
		}
	}
	return files, nil
}

// textFiles finds the Markdown and Go files below dir. Symbolic links are not followed.
func textFiles(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != dir && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.Type().IsRegular() && slices.Contains([]string{".md", ".go"}, filepath.Ext(name)):
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no Markdown or Go files: name the files to count", dir)
	}
	slices.Sort(files)
	return files, nil
}
