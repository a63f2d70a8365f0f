// SPDX-License-Identifier: GPL-2.0-or-later

import java.util.ArrayList;
import java.util.List;

/** A Java heap that stands still: 60 MB that are held, garbage, threads. */
public class LadderJava {
    static final List<byte[]> HELD = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        for (int i = 0; i < 60000; i++) {
            HELD.add(new byte[1000]);
        }
        for (int i = 0; i < 5; i++) {
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(1000000);
                } catch (InterruptedException e) {
                    return;
                }
            }, "worker-" + i);
            thread.setDaemon(true);
            thread.start();
        }
        System.gc();
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {
            Thread.sleep(1);
        }
    }
}
