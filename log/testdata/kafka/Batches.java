// Writes and reads record batches with Kafka's own classes, so that ours can be compared with them.
//
//   java -cp 'JARS/*' Batches.java write DIR    writes the *.batch files that lie beside this file
//   java -cp 'JARS/*' Batches.java read FILE    prints one line for each batch and each record in it
//
// JARS is a directory with kafka-clients 4.4.0 and what it depends on. The records that write makes are
// those of kafkaRecords in kafka_test.go; keep the two in step.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;

public class Batches {
    static final long BASE_OFFSET = 1000, NOW = 1_700_000_000_000L;

    public static void main(String[] args) throws Exception {
        if (args[0].equals("read")) {
            read(Path.of(args[1]));
            return;
        }
        Path dir = Path.of(args[1]);
        for (CompressionType type : CompressionType.values())
            save(dir.resolve(type.name + ".batch"), batch(type, TimestampType.CREATE_TIME));
        save(dir.resolve("append-time.batch"), batch(CompressionType.NONE, TimestampType.LOG_APPEND_TIME));
        for (ControlRecordType type : new ControlRecordType[] {ControlRecordType.COMMIT, ControlRecordType.ABORT})
            save(dir.resolve(type.name().toLowerCase() + ".batch"), MemoryRecords.withEndTransactionMarker(
                BASE_OFFSET, NOW, 7, 4711, (short) 3, new EndTransactionMarker(type, 12)).buffer());
    }

    static void save(Path file, ByteBuffer b) throws Exception {
        byte[] bytes = new byte[b.remaining()];
        b.get(bytes);
        Files.write(file, bytes);
    }

    static ByteBuffer batch(CompressionType type, TimestampType time) {
        MemoryRecordsBuilder b = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), (byte) 2,
            Compression.of(type).build(), time, BASE_OFFSET, NOW + 5000, 4711L, (short) 3, 2147483600, true, false, 7);
        for (int i = 0; i < 100; i++) {
            byte[] key = i % 5 == 0 ? null : i % 5 == 1 ? new byte[0] : bytes("key-" + i);
            byte[] value = i % 7 == 0 ? null : i % 7 == 1 ? new byte[0] : bytes(("value-" + i).repeat(i % 40));
            Header[] headers = new Header[i % 3];
            if (headers.length > 0) headers[0] = new RecordHeader("trace-ä", bytes("" + i));
            if (headers.length > 1) headers[1] = new RecordHeader("", i % 2 == 0 ? null : new byte[0]);
            if (i == 99 && type != CompressionType.NONE) value = bytes("0123456789abcdef-".repeat(10_000));
            b.appendWithOffset(BASE_OFFSET + i, NOW + i * 37 % 101 - 50, key, value, headers);
        }
        return b.build().buffer();
    }

    static void read(Path file) throws Exception {
        for (RecordBatch b : MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file))).batches()) {
            b.ensureValid();
            System.out.printf("batch %d-%d %s epoch %d producer %d/%d sequence %d-%d max %d transactional %b control %b%n",
                b.baseOffset(), b.lastOffset(), b.compressionType().name, b.partitionLeaderEpoch(), b.producerId(),
                b.producerEpoch(), b.baseSequence(), b.lastSequence(), b.maxTimestamp(), b.isTransactional(), b.isControlBatch());
            for (org.apache.kafka.common.record.internal.Record r : b) {
                r.ensureValid();
                StringBuilder line = new StringBuilder("record " + r.offset() + " " + r.timestamp() + " " + hex(r.key()) + " " + hex(r.value()));
                for (Header h : r.headers())
                    line.append(" ").append(hex(ByteBuffer.wrap(bytes(h.key())))).append("=")
                        .append(hex(h.value() == null ? null : ByteBuffer.wrap(h.value())));
                System.out.println(line);
            }
        }
    }

    static String hex(ByteBuffer b) {
        if (b == null) return "null";
        byte[] bytes = new byte[b.remaining()];
        b.duplicate().get(bytes);
        return "[" + HexFormat.of().formatHex(bytes) + "]";
    }

    static byte[] bytes(String s) { return s.getBytes(StandardCharsets.UTF_8); }
}
