package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const minJava = 17

// Java returns the newest java command, at least of version 17, among that of JAVA_HOME, the one on the PATH,
// and those in the directories where Linux distributions put them. JAVA_HOME's is taken if it is new enough.
func Java() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if path := filepath.Join(home, "bin", "java"); javaVersion(ctx, path) >= minJava {
			return path, nil
		}
	}
	paths, err := filepath.Glob("/usr/lib/jvm/*/bin/java")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("java"); err == nil {
		paths = append(paths, path)
	}
	newest, version := "", minJava-1
	for _, path := range paths {
		if v := javaVersion(ctx, path); v > version {
			newest, version = path, v
		}
	}
	if newest == "" {
		return "", fmt.Errorf("peers: no JDK of version %d or later: install one, and set JAVA_HOME if it is not on the PATH", minJava)
	}
	return newest, nil
}

var versionPattern = regexp.MustCompile(`version "(\d+)`)

// javaVersion is 0 for what is no java, and 1 for versions before 9, which call themselves 1.8 and the like.
func javaVersion(ctx context.Context, path string) int {
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return 0
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return 0
	}
	v, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return v
}

// jars returns the directory with the jars of pom's dependencies, in the user's cache.
func jars(name string, pom []byte) (string, error) {
	sum := sha256.Sum256(pom)
	return cached(fmt.Sprintf("%s-%x", name, sum[:4]), func(temp string) (string, error) {
		file, lib := filepath.Join(temp, "pom.xml"), filepath.Join(temp, "lib")
		if err := os.WriteFile(file, pom, 0o644); err != nil {
			return "", err
		}
		return lib, Maven("-f", file, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	})
}

// cached returns the directory of that name in the user's cache. If it is not there, build makes it below a
// temporary directory and returns where; the cached one appears with all of its content. A name has the hash
// of what it is built from, so that another version is another directory.
func cached(name string, build func(temp string) (string, error)) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("peers: a place for jars: %w", err)
	}
	cache = filepath.Join(cache, "moldau", "peers")
	final := filepath.Join(cache, name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("peers: a place for jars: %w", err)
	}
	// Maven's own repository, which all processes share, does not bear two writers.
	unlock, err := lockFile(filepath.Join(cache, "lock"))
	if err != nil {
		return "", fmt.Errorf("peers: lock the jars' cache: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	temp, err := os.MkdirTemp(cache, "building-")
	if err != nil {
		return "", fmt.Errorf("peers: a place for jars: %w", err)
	}
	defer os.RemoveAll(temp)
	built, err := build(temp)
	if err == nil {
		err = os.Rename(built, final)
	}
	if err != nil {
		return "", fmt.Errorf("peers: fetch %s: %w", name, err)
	}
	return final, nil
}

// Maven runs mvn quietly, for ten minutes at most; what it says is in the error.
func Maven(args ...string) error {
	if _, err := exec.LookPath("mvn"); err != nil {
		return errors.New("no mvn on the PATH: install Maven (the Debian package is maven)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mvn", append([]string{"-q", "-B"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("mvn %q: %w\n%s", args, err, out[max(0, len(out)-2000):])
	}
	return nil
}
