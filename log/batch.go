package log

// placeholder until the batch codec lands
func decodeHeaders(b []byte) ([]Header, error)     { return nil, nil }
func appendHeaders(dst []byte, hs []Header) []byte { return dst }
