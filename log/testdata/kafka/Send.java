// Sends records through a Kafka broker with Kafka's own producer, so that segments which the broker writes can be
// compared with ours.
//
//   java -cp 'JARS/*' Send.java BOOTSTRAP COUNT
//
// JARS is a directory with kafka-clients and what it depends on. To each of these topics of one partition, which
// must exist, COUNT records are sent: plain-none, append-time-none, and idempotent-C and transactional-C for every
// compression C. To the latter, two transactional ids send chunks of 50 records in turn, in transactions that
// overlap; every third chunk is aborted, and after the last one another of 10 records is left open. The records are
// those of sentRecords in foreign_test.go; keep the two in step.

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Send {
    static final long NOW = 1_700_000_000_000L;
    static final int CHUNK = 50, ABORTED = 3, OPEN = 10;

    static String bootstrap;
    static int count;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        count = Integer.parseInt(args[1]);
        all("plain-none", Map.of("enable.idempotence", "false"));
        all("append-time-none", Map.of());
        for (String c : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            all("idempotent-" + c, Map.of("compression.type", c));
            transactions("transactional-" + c, c);
        }
        Runtime.getRuntime().halt(0); // a producer that is closed would abort what is open
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", bootstrap);
        all.put("batch.size", "1500");
        all.put("linger.ms", "5");
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void all(String topic, Map<String, String> settings) {
        try (KafkaProducer<byte[], byte[]> p = producer(settings)) {
            for (int i = 0; i < count; i++) p.send(record(topic, i));
        }
    }

    static void transactions(String topic, String c) {
        KafkaProducer<byte[], byte[]> a = transactional(topic + "-a", c), b = transactional(topic + "-b", c);
        for (int chunk = 0; chunk * CHUNK < count; chunk += 2) {
            send(a, topic, chunk * CHUNK, CHUNK);
            send(b, topic, (chunk + 1) * CHUNK, CHUNK);
            end(a, chunk);
            end(b, chunk + 1);
        }
        send(b, topic, count, OPEN);
        a.close();
    }

    static KafkaProducer<byte[], byte[]> transactional(String id, String c) {
        KafkaProducer<byte[], byte[]> p = producer(Map.of(
            "transactional.id", id, "transaction.timeout.ms", "900000", "compression.type", c));
        p.initTransactions();
        return p;
    }

    static void send(KafkaProducer<byte[], byte[]> p, String topic, int from, int n) {
        p.beginTransaction();
        for (int i = from; i < from + n; i++) p.send(record(topic, i));
        p.flush();
    }

    static void end(KafkaProducer<byte[], byte[]> p, int chunk) {
        if (chunk % ABORTED == ABORTED - 1) p.abortTransaction();
        else p.commitTransaction();
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int i) {
        byte[] key = i % 5 == 0 ? null : i % 5 == 1 ? new byte[0] : bytes("key-" + i);
        byte[] value = i % 7 == 0 ? null : i % 7 == 1 ? new byte[0] : bytes(("value-" + i).repeat(i % 40));
        var r = new ProducerRecord<byte[], byte[]>(topic, 0, NOW + 20L * i + i * 37 % 101 - 50, key, value);
        if (i % 3 > 0) r.headers().add("trace-ä", bytes("" + i));
        if (i % 3 > 1) r.headers().add("", i % 2 == 0 ? null : new byte[0]);
        return r;
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }
}
